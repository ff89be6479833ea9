"""The report of a run: `report.json`, `report.html` and the table printed last."""
