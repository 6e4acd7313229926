//! Feeds what the fuzzer makes up to `ebpf_netns_tests::fuzz::filter`, and does nothing else.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(error) = ebpf_netns_tests::fuzz::filter(data) {
        panic!("{error:#}");
    }
});
