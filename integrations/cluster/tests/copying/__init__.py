"""Tests of the room `copying`: collections copied to other stores."""
