//! Every field of every struct lies where a C compiler puts it.

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::PathBuf;
use std::process::Command;

use blkalign::capi::{
    blkalign_driver, blkalign_limits, blkalign_open_options, blkalign_request, blkalign_stats,
};

/// (struct, field, offset), with the struct's size under the field "".
type Layout = Vec<(&'static str, &'static str, usize)>;

macro_rules! layout {
    ($($name:ident { $($field:ident)* })*) => {
        vec![$(
            (stringify!($name), "", size_of::<$name>()),
            $((stringify!($name), stringify!($field), offset_of!($name, $field)),)*
        )*]
    };
}

fn rust_layout() -> Layout {
    layout! {
        blkalign_open_options {
            size flags engine completion workers queue_depth request_alignment mem_alignment
            segment_alignment guest_block_size window_offset window_length
        }
        blkalign_request {
            size op flags offset bytes iov iovcnt guest_block_size cb opaque id
        }
        blkalign_limits {
            size request_alignment mem_alignment segment_alignment request_alignment_source
            mem_alignment_source segment_alignment_source logical_block_size physical_block_size
            opt_transfer max_transfer max_segments discard_alignment write_zeroes_alignment
            atomic_write_unit_max direct engine
        }
        blkalign_stats {
            size reads writes write_zeroes discards flushes bytes_read bytes_written zero_copy
            bounced rmw rmw_reads rmw_reads_skipped merged waits storage_reads storage_writes
            errors in_flight probe_repairs
        }
        blkalign_driver {
            size name request_alignment mem_alignment segment_alignment max_transfer max_segments
            getlength preadv pwritev flush pdiscard pwrite_zeroes truncate close aio_preadv
            aio_pwritev aio_flush
        }
    }
}

/// Lets the C compiler check each number. The initialisers must compile without a warning, too.
fn c_program(layout: &Layout) -> String {
    let mut program = String::from("#include <blkalign.h>\n");
    for (number, (name, field, value)) in layout.iter().enumerate() {
        let seen = match *field {
            "" => format!("sizeof({name})"),
            field => format!("offsetof({name}, {field})"),
        };
        let check = format!("check_{number}[{seen} == {value} ? 1 : -1]");
        writeln!(program, "typedef char {check}; /* {name}.{field} */").unwrap();
    }
    program
}

#[test]
fn c_compiler_puts_every_field_where_rust_does() {
    let source = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("layout.c");
    std::fs::write(&source, c_program(&rust_layout())).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(compiler)
        .args(["-std=c99", "-fsyntax-only", "-I"])
        .arg(abi_test::root().join("include"))
        .arg(&source)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Guards the list above: a field that is added must be added there.
#[test]
fn no_field_is_forgotten_here() {
    let header = abi_test::header();
    for (name, fields) in abi_test::struct_fields(&header) {
        let here: Vec<&str> = rust_layout()
            .iter()
            .filter(|(owner, field, _)| *owner == name && !field.is_empty())
            .map(|(_, field, _)| *field)
            .collect();
        assert_eq!(here, fields, "{name}");
    }
}
