//! Tests of the configuration as a whole.

mod documents;
mod hostile;
mod mistakes;
mod valid;
