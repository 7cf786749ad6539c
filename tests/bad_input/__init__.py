"""Bad input at every door: the table of cases, what runs them, and the tests."""
