"""`audit_scaling`: does more compute bring more discoveries, and by what law?"""
