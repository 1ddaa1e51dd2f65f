//! Tiles of AMX (Intel 64 and IA-32 Architectures Optimization Reference Manual, chapter 20): a
//! tile of 16 × 32 of the left side by one of 32 × 16 of the right gives 16 × 16 sums.
//!
//! Rust's intrinsics for it are not stable yet; the instructions are written out.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use super::kernel::Block;
use super::{DEPTH, HEIGHT, PANEL};

/// Whether this machine has it and lets this process use it.
pub fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        const BF16: u32 = 1 << 22;
        const TILE: u32 = 1 << 24;
        let wanted = BF16 | TILE;
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & wanted == wanted && is_permitted()
    })
}

/// Asks the kernel for the tiles' registers (Linux: Documentation/arch/x86/xstate.rst); they are
/// then there for every thread of the process.
fn is_permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: the call takes two numbers and changes nothing but the permission.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// The layout that `ldtilecfg` reads: palette 1, eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Layout {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static LAYOUT: Layout = Layout {
    palette: 1,
    start: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Four tiles of sums of a block that is not written as a whole.
#[repr(C, align(64))]
struct Scratch([[f32; 2 * PANEL]; 2 * HEIGHT]);

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
///
/// As there; the operands' bounds were checked.
pub unsafe fn multiply(block: &Block, out: *mut f32, stride: usize, add: bool) {
    let Block { count, width, .. } = *block;
    let mut scratch = Scratch([[0.0; 2 * PANEL]; 2 * HEIGHT]);
    // SAFETY: the layout is valid, and the tiles are given back below. Rows go on to the next
    // multiple of a tile's height. A block at the edge goes through the scratch, whose size is
    // that of the four tiles.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &LAYOUT, options(nostack, readonly));
        for first in (0..count).step_by(2 * HEIGHT) {
            let height = (count - first).min(2 * HEIGHT);
            let left = block.rows.as_ptr().add(first * block.stride).cast();
            let right = block.tiles.as_ptr().cast();
            let shape = Shape {
                apart: 2 * block.stride,
                second: if height > HEIGHT { HEIGHT } else { 0 } * 2 * block.stride,
                step: 4 * block.step,
                steps: block.depth / DEPTH,
            };
            let target = out.add(first * stride);
            if height == 2 * HEIGHT && width == 2 * PANEL {
                tiles(left, right, shape, target, stride, add);
                continue;
            }
            tiles(left, right, shape, scratch.0.as_mut_ptr().cast(), 2 * PANEL, false);
            for (i, sums) in scratch.0.iter().take(height).enumerate() {
                for (j, sum) in sums.iter().take(width).enumerate() {
                    let place = target.add(i * stride + j);
                    place.write(if add { place.read() + sum } else { *sum });
                }
            }
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// All in bytes but `steps`.
struct Shape {
    /// From row to row on the left.
    apart: usize,
    /// From the upper tile on the left to the lower.
    second: usize,
    /// From tile to tile on the right; the second panel's lies behind the first's.
    step: usize,
    /// Tiles of depth.
    steps: usize,
}

/// Two tiles on the left by two on the right, all their depth: 32 × 32 sums.
unsafe fn tiles(
    left: *const u8,
    right: *const u8,
    shape: Shape,
    out: *mut f32,
    stride: usize,
    add: bool,
) {
    let apart = 4 * stride;
    // SAFETY: the caller's.
    unsafe {
        let lower = out.add(HEIGHT * stride);
        if add {
            asm!(
                "tileloadd tmm0, [{upper} + {apart}]",
                "tileloadd tmm1, [{upper} + {apart} + 64]",
                "tileloadd tmm2, [{lower} + {apart}]",
                "tileloadd tmm3, [{lower} + {apart} + 64]",
                upper = in(reg) out,
                lower = in(reg) lower,
                apart = in(reg) apart,
                options(nostack, readonly),
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem),
            );
        }
        asm!(
            "2:",
            "tileloadd tmm4, [{a} + {apart}]",
            "tileloadd tmm6, [{b} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {line} + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{d} + {apart}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 64",
            "add {d}, 64",
            "add {b}, {step}",
            "dec {steps}",
            "jnz 2b",
            a = inout(reg) left => _,
            d = inout(reg) left.add(shape.second) => _,
            b = inout(reg) right => _,
            step = in(reg) shape.step,
            apart = in(reg) shape.apart,
            line = in(reg) 64usize,
            steps = inout(reg) shape.steps => _,
            options(nostack, readonly),
        );
        asm!(
            "tilestored [{upper} + {apart}], tmm0",
            "tilestored [{upper} + {apart} + 64], tmm1",
            "tilestored [{lower} + {apart}], tmm2",
            "tilestored [{lower} + {apart} + 64], tmm3",
            upper = in(reg) out,
            lower = in(reg) lower,
            apart = in(reg) apart,
            options(nostack),
        );
    }
}
