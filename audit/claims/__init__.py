"""`verify_claims`: a published paper, claim by claim."""
