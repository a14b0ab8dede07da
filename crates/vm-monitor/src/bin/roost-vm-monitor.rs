//! The monitor as a program of its own, for tests; the product runs it as `roost vm-monitor`.

fn main() {}
