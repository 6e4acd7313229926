//! Telling what containers execute: programs at the tracepoints of `execve` and `execveat`.

use core::ffi::c_void;
use core::mem::offset_of;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::bpf_pidns_info;
use aya_ebpf::btf_maps::{Array, RingBuf};
use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    bpf_get_ns_current_pid_tgid, bpf_probe_read_user, bpf_probe_read_user_str,
};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::TracePointContext;
use plugin_common::exec::{
    ARGUMENT_BYTES, ARGUMENTS_BYTES, EXECS_BYTES, ExecRecord, FILENAME_BYTES, MAX_ARGUMENTS,
    MAX_NAMESPACES, PidNamespace,
};

use crate::clock;

#[btf_map]
static EXECS: RingBuf<(), EXECS_BYTES> = RingBuf::new();

#[btf_map]
static NAMESPACES: Array<PidNamespace, MAX_NAMESPACES> = Array::new();

#[btf_map]
static LOST: Array<u64, 1> = Array::new();

/// Where the call's arguments are in what a tracepoint of a system call is given: after 8 bytes that
/// all tracepoints have and the number of the call, 8 bytes each.
const FIRST: usize = 16;

/// At `execve`: the file, its arguments, its environment.
#[inline(always)]
pub fn execve(ctx: &TracePointContext) -> u32 {
    tell(argument(ctx, 0), argument(ctx, 1), -1)
}

/// At `execveat`: a descriptor before those.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a descriptor has 32 bits")]
pub fn execveat(ctx: &TracePointContext) -> u32 {
    tell(argument(ctx, 1), argument(ctx, 2), argument(ctx, 0) as i32)
}

#[inline(always)]
fn argument(ctx: &TracePointContext, number: usize) -> u64 {
    let start = ctx.as_ptr().cast::<u8>();
    // SAFETY: what a tracepoint of a system call is given has six of them.
    let place = unsafe { start.add(FIRST + 8 * number) };
    // SAFETY: as above; it is aligned.
    unsafe { place.cast::<u64>().read() }
}

/// Which of the namespaces the caller is in, and as which process.
#[inline(always)]
fn namespace() -> Option<(u64, u32)> {
    for number in 0..MAX_NAMESPACES as u32 {
        let Some(namespace) = NAMESPACES.get(number) else { break };
        if namespace.inode == 0 {
            break;
        }
        let mut inside = bpf_pidns_info { pid: 0, tgid: 0 };
        let size = size_of::<bpf_pidns_info>() as u32;
        // SAFETY: the helper fills so many bytes of what it is given.
        let other = unsafe {
            bpf_get_ns_current_pid_tgid(namespace.device, namespace.inode, &raw mut inside, size)
        };
        if other == 0 {
            return Some((namespace.told_as, inside.tgid));
        }
    }
    None
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "they are halves, or have 32 bits")]
fn tell(filename: u64, argv: u64, descriptor: i32) -> u32 {
    let (told_as, pid_inside) = match namespace() {
        Some((0, _)) => return 0,
        Some((told_as, inside)) => (told_as as u32, inside),
        None => (0, 0),
    };
    let Some(mut entry) = EXECS.reserve_untyped::<ExecRecord>(0) else {
        lose();
        return 0;
    };
    let record = entry.as_mut_ptr();
    macro_rules! set {
        ($($field:ident = $value:expr;)*) => {$({
            let value = $value;
            // SAFETY: the field is within what was reserved.
            let place = unsafe { &raw mut (*record).$field };
            // SAFETY: as above.
            unsafe { place.write(value) };
        })*};
    }
    // SAFETY: the helpers take no argument and return numbers.
    let (process, user) = unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_uid_gid()) };
    // SAFETY: the field is within what was reserved.
    let comm = unsafe { (&raw mut (*record).comm).cast::<c_void>() };
    // SAFETY: it has 16 bytes.
    unsafe { bpf_get_current_comm(comm, 16) };
    let mut flags = 0;
    let place = at(record, offset_of!(ExecRecord, filename));
    let length = text(place, FILENAME_BYTES as u32, filename, &mut flags);
    let (arguments, bytes) = arguments(record, argv, &mut flags);
    set! {
        time_ns = clock::exactly();
        namespace = told_as;
        pid = (process >> 32) as u32;
        pid_inside = pid_inside;
        uid = user as u32;
        descriptor = descriptor;
        arguments = arguments;
        filename_bytes = length.saturating_sub(1);
        argv_bytes = bytes;
        flags = flags;
    }
    entry.submit(0);
    0
}

/// Reads the arguments; how many, and how many bytes they take.
#[inline(always)]
fn arguments(record: *mut ExecRecord, argv: u64, flags: &mut u64) -> (u32, u32) {
    let mut used = 0;
    for number in 0..MAX_ARGUMENTS {
        let mut pointer: u64 = 0;
        let from = argv + 8 * u64::from(number);
        // SAFETY: the helper fills 8 bytes, and fails where there is nothing to read.
        let failed =
            unsafe { bpf_probe_read_user((&raw mut pointer).cast(), 8, from as *const c_void) };
        if failed != 0 || pointer == 0 {
            return (number, used);
        }
        if used > ARGUMENTS_BYTES as u32 {
            *flags |= ExecRecord::MORE;
            return (number, used);
        }
        let place = at(record, offset_of!(ExecRecord, argv) + used as usize);
        let length = text(place, ARGUMENT_BYTES as u32, pointer, flags);
        if length == 0 {
            return (number, used);
        }
        used += length;
    }
    *flags |= ExecRecord::MORE;
    (MAX_ARGUMENTS, used)
}

#[inline(always)]
fn at(record: *mut ExecRecord, offset: usize) -> *mut u8 {
    // SAFETY: every caller's offset is within the record, which the verifier checks.
    unsafe { record.cast::<u8>().add(offset) }
}

/// Reads a text of the caller's; how many bytes it takes with the zero that ends it, none if it cannot be
/// read.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is no more than was asked for")]
fn text(to: *mut u8, most: u32, from: u64, flags: &mut u64) -> u32 {
    // SAFETY: there is room for so many bytes, which the verifier checks.
    let length = unsafe { bpf_probe_read_user_str(to.cast(), most, from as *const c_void) };
    if length <= 0 || length > i64::from(most) {
        return 0;
    }
    if length == i64::from(most) {
        *flags |= ExecRecord::CUT;
    }
    length as u32
}

/// Counts a record that there is no room for. Two processors may count one.
#[inline(always)]
fn lose() {
    if let Some(lost) = LOST.get_ptr_mut(0) {
        // SAFETY: the pointer comes from a lookup that succeeded.
        unsafe { *lost += 1 };
    }
}
