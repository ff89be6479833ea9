"""What the user reads after a run: `report.json`, `report.html` and the table printed last."""
