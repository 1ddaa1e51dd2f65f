//! The instructions that multiply.

use std::sync::OnceLock;

use gemm::Parallelism;
use half::bf16;

use super::{DEPTH, GROUP, HEIGHT, PANEL, TILE};

/// A way to multiply, the best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// Products in f32 of the rounded values: anywhere.
    Portable,
    /// AVX-512 BF16: `vdpbf16ps`, 64 operations each.
    Avx512,
    /// AMX: `tdpbf16ps`, 16,384 operations each.
    Amx,
}

/// A chunk of rows by a packed group.
pub(super) struct Block<'a> {
    /// The rows from the first depth on, `stride` apart. Beyond `count` they go on to the next
    /// multiple of the tile's height.
    pub rows: &'a [bf16],
    pub count: usize,
    pub stride: usize,
    /// The group's two tiles of the first depths; those of the next are `step` further on.
    pub tiles: &'a [u32],
    pub step: usize,
    pub depth: usize,
    /// Columns that are wanted.
    pub width: usize,
}

impl Kernel {
    /// The best that this machine has.
    pub fn best() -> Kernel {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Kernel::all().pop().unwrap_or(Kernel::Portable))
    }

    /// For a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Kernel::Portable => {
                "arithmetic in f32, since this machine has no instructions for bf16"
            }
            Kernel::Avx512 => "AVX-512 BF16",
            Kernel::Amx => "AMX",
        }
    }

    /// All that this machine has.
    pub fn all() -> Vec<Kernel> {
        let mut all = vec![Kernel::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if super::avx512::is_here() {
                all.push(Kernel::Avx512);
                if super::amx::is_here() {
                    all.push(Kernel::Amx);
                }
            }
        }
        all
    }

    /// Writes or adds the block's product to `out`, whose rows are `stride` apart.
    ///
    /// # Safety
    ///
    /// `out` must have `count` rows of `width` numbers that nobody else reads or writes, and the
    /// machine must have the kernel.
    pub(super) unsafe fn multiply(self, block: &Block, out: *mut f32, stride: usize, add: bool) {
        let Block { rows, count, stride: apart, tiles, step, depth, width } = *block;
        assert!(depth.is_multiple_of(DEPTH) && depth > 0 && (1..=GROUP).contains(&width));
        assert!(rows.len() >= (count.next_multiple_of(HEIGHT) - 1) * apart + depth);
        assert!(tiles.len() >= (depth / DEPTH - 1) * step + 2 * TILE);
        // SAFETY: as this function's, and the operands' bounds have just been asserted.
        unsafe {
            match self {
                Kernel::Portable => portable(block, out, stride, add),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512 => super::avx512::multiply(block, out, stride, add),
                #[cfg(target_arch = "x86_64")]
                Kernel::Amx => super::amx::multiply(block, out, stride, add),
                #[cfg(not(target_arch = "x86_64"))]
                _ => portable(block, out, stride, add),
            }
        }
    }
}

/// Rows widened at a time.
const ROWS: usize = 64;

unsafe fn portable(block: &Block, out: *mut f32, stride: usize, add: bool) {
    let Block { depth, width, .. } = *block;
    // [depth, GROUP]
    let mut right = vec![0f32; depth * GROUP];
    for (t, tiles) in block.tiles.chunks(block.step).take(depth / DEPTH).enumerate() {
        for (i, pair) in tiles[..2 * TILE].iter().enumerate() {
            let (panel, line, column) = (i / TILE, i % TILE / PANEL, i % PANEL);
            let at = (t * DEPTH + 2 * line) * GROUP + panel * PANEL + column;
            right[at] = f32::from_bits(pair << 16);
            right[at + GROUP] = f32::from_bits(pair & 0xffff_0000);
        }
    }
    let mut left = vec![0f32; ROWS.min(block.count) * depth];
    for first in (0..block.count).step_by(ROWS) {
        let height = ROWS.min(block.count - first);
        for (i, row) in left.chunks_exact_mut(depth).take(height).enumerate() {
            let from = (first + i) * block.stride;
            let values = &block.rows[from..from + depth];
            row.iter_mut().zip(values).for_each(|(wide, value)| *wide = value.to_f32());
        }
        // SAFETY: `out` has these rows; the operands were filled above.
        unsafe {
            gemm::gemm(
                height,
                width,
                depth,
                out.add(first * stride),
                1,
                stride as isize,
                add,
                left.as_ptr(),
                1,
                depth as isize,
                right.as_ptr(),
                1,
                GROUP as isize,
                1.0f32,
                1.0f32,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}
