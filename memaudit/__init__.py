"""The hall: recipes, stages run in order, the ledger, extraction, verdicts, findings and the command line."""
