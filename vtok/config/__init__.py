"""Composing a configuration, and checking it before anything heavy is loaded."""

from vtok.config.budget import settle_budget
from vtok.config.check import check
from vtok.config.compose import compose, register

__all__ = ["check", "compose", "register", "settle_budget"]
