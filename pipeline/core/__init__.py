"""The words of the house: errors, quantity, money, calendar, identity. Imports no other room."""
