// The places where images run, at the end of scratch: one for the running image, one for the next.
#pragma once

#include "holdfast/base/result.hpp"

namespace metal {

using namespace holdfast;  // NOLINT: a world of the library

inline constexpr u64 image_slots = 2;
inline constexpr u64 image_slot_bytes = u64{2} << 20;

/// The slot of @p area for the next image: the one that @p own_image does not run in. Asked of where the image is, not
/// of a number that crossed a jump. The first image runs outside @p area and leaves both: then it is the last one.
/// Errors: Corrupt (@p own_image lies across slots, or half in the area: none can be written).
Result<PhysRange> free_slot(const PhysRange& area, const PhysRange& own_image);

}  // namespace metal
