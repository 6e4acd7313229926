//! The object that `trace --exec` loads.
#![no_std]
#![no_main]

use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use plugin_ebpf::aya_ebpf;
use plugin_ebpf::exec;

/// At the beginning of `execve`.
#[tracepoint]
fn sys_enter_execve(ctx: TracePointContext) -> u32 {
    exec::execve(&ctx)
}

/// At the beginning of `execveat`.
#[tracepoint]
fn sys_enter_execveat(ctx: TracePointContext) -> u32 {
    exec::execveat(&ctx)
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
