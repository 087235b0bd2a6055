//! The engine of shunt.
