"""Who answers: the simulated patient, its understanding of questions, and the ledger of what was disclosed."""
