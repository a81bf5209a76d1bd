"""Tests of the room `command`: what a user types, and what is answered."""
