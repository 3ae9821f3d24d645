"""Measurements: how well methods learn, over orders and seeds (`methods`, `learning`), and how fast (`speed`)."""
