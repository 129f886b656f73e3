"""Run folders read after a run: tables, plots and pages of one run or of many."""
