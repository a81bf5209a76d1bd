"""x `making` may use"""
