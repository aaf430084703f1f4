"""HTTP that both doors share: the status of each refusal and the Content-Security-Policies. No routes, no framework."""
