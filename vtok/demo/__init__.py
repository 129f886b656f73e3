"""A page in a browser on which a trained run is tried on videos; it needs gradio (`pip install 'vtok[demo]'`)."""
