"""Tests of the room `cli`: commands and their output."""
