// FolioList: the list of a memory file's blocks as it crosses the jump: an array of abi::memfd::Folio scattered over
// pages, which a chain of chunks names (KHO's vmalloc layout).
//
// Writing: the list is valid in memory after every step, so that undoing is walking it.
// Reading: nothing is believed. Every page of chain and list must be a block that the previous kernel preserved and
// nobody restored; counts bound every loop. Threads: the handler's. Failure: Result; what failed changed nothing.
#pragma once

#include "holdfast/abi/memfd.hpp"
#include "holdfast/kho/handover.hpp"
#include "holdfast/kho/visitor.hpp"
#include "holdfast/memfd/mem_file.hpp"

namespace holdfast::memfd {

using abi::memfd::Folio;
using abi::memfd::VmallocChunk;
using abi::memfd::VmallocDescriptor;

/// Lists @p extents in fresh preserved pages. Errors: NoMemory, TooBig.
Result<VmallocDescriptor> write_folio_list(Memory& memory, kho::Handover& handover, std::span<const Extent> extents);
/// The inverse, in the kernel that wrote it.
void free_folio_list(Memory& memory, kho::Handover& handover, const VmallocDescriptor& list);

/// Appends the @p count folios of an incoming list, as they are written. Errors: Corrupt, NoMemory, TooBig.
Status read_folio_list(Memory& memory, const VmallocDescriptor& list, u64 count, Vec<Folio>& to);
/// Visits the blocks that hold an incoming list: chunks and pages. Errors: Corrupt; what comes before the fault is
/// visited.
Status for_each_list_block(Memory& memory, const VmallocDescriptor& list, kho::Visitor<Block> visit);

}  // namespace holdfast::memfd
