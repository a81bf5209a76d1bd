"""Tests of the room `cli`: what a user types, and what is answered."""
