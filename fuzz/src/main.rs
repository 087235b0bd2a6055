//! The fuzzer's process: libFuzzer gives inputs, the environment says which target gets them.

#![no_main]

use std::{env, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use shunt_fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = env::var("SHUNT_FUZZ_TARGET").unwrap_or_default();
    let known = Target::ALL.map(Target::name);
    Target::named(&name).unwrap_or_else(|| panic!("SHUNT_FUZZ_TARGET is one of {known:?}"))
});

fuzz_target!(|bytes: &[u8]| TARGET.run(bytes));
