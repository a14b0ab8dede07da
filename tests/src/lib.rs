//! Cases with a real VM and the real binary; see `tests/tests`.
