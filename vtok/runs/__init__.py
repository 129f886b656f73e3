"""Reading run folders after the runs: tables, plots and pages of one run or of several."""
