"""How runs present a task: facts about its labels, metrics, pictures."""
