//! The allocator of guests for `wasm32-unknown-unknown`: it uses the memory that the module starts with, and then
//! `memory.grow`.
//!
//! The default allocator grows the memory at its first allocation, and leaves the memory between the end of the data
//! and the end of the initial memory unused. In a host that makes a fresh instance for every task, that is one system
//! call per task, which costs as much as the rest of a small task.
#![cfg(all(feature = "allocator", target_family = "wasm", target_os = "unknown"))]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};

use dlmalloc::{Allocator, Dlmalloc};

const PAGE: usize = 64 * 1024;

unsafe extern "C" {
    /// The end of the module's data and stack, placed by the linker.
    static __heap_base: u8;
}

/// The size of a static array that every module starts with, so that small tasks never grow their memory. The array is
/// zero and untouched, so it costs neither bytes in the file nor memory.
const RESERVE: usize = 2 * PAGE;
static ARENA: Arena = Arena(UnsafeCell::new([0; RESERVE]));

#[repr(align(16))]
struct Arena(UnsafeCell<[u8; RESERVE]>);

// SAFETY: a module of this target has one thread, and only `Memory::alloc` touches the arena.
unsafe impl Sync for Arena {}

/// Passes whole regions to dlmalloc: the arena, the rest of the initial memory, then new pages.
struct Memory {
    stage: Cell<u8>,
}

// SAFETY: every region is passed on once (the stage only increases; `memory.grow` returns new pages), is zero because
// nothing has written to it, and is never unmapped, moved or shrunk.
unsafe impl Allocator for Memory {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if self.stage.get() == 0 {
            self.stage.set(1);
            if size <= RESERVE {
                return (ARENA.0.get().cast(), RESERVE, 0);
            }
        }
        if self.stage.get() == 1 {
            self.stage.set(2);
            let start = (&raw const __heap_base as usize).next_multiple_of(16);
            let end = core::arch::wasm32::memory_size(0) * PAGE;
            if end.saturating_sub(start) >= size {
                return (start as *mut u8, end - start, 0);
            }
        }
        let pages = size.div_ceil(PAGE);
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX {
            return (core::ptr::null_mut(), 0, 0);
        }
        ((before * PAGE) as *mut u8, pages * PAGE, 0)
    }
    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        core::ptr::null_mut()
    }
    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }
    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }
    fn can_release_part(&self, _: u32) -> bool {
        false
    }
    fn allocates_zeros(&self) -> bool {
        true
    }
    fn page_size(&self) -> usize {
        PAGE
    }
}

struct Global(UnsafeCell<Dlmalloc<Memory>>);

// SAFETY: a module of this target has one thread.
unsafe impl Sync for Global {}

#[global_allocator]
static GLOBAL: Global = Global(UnsafeCell::new(Dlmalloc::new_with_allocator(Memory { stage: Cell::new(0) })));

// SAFETY: the methods below pass each request on to dlmalloc unchanged. No two of them overlap, because there is one
// thread and dlmalloc does not call back.
unsafe impl GlobalAlloc for Global {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: there is one thread, so this is the only reference; the layout is valid, as the caller promises.
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as for `alloc`; `ptr` came from here with this layout, as the caller promises.
        unsafe { (*self.0.get()).free(ptr, layout.size(), layout.align()) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`.
        unsafe { (*self.0.get()).realloc(ptr, layout.size(), layout.align(), new_size) }
    }
}
