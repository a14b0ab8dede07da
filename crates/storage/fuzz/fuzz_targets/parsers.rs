//! The first byte says which parser gets the rest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::fuzzing::PARSERS;

fuzz_target!(|bytes: &[u8]| {
    if let Some((which, rest)) = bytes.split_first() {
        let (_, parse) = PARSERS[usize::from(*which) % PARSERS.len()];
        parse(rest);
    }
});
