//! Tests of the configuration as a whole.

mod compile;
mod documents;
mod hostile;
mod mistakes;
mod valid;
