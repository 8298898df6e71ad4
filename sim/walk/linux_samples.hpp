// Test support: memory pages recorded from a real Linux, as PhysicalMemory.
//
// The samples are found in $HOLDFAST_LINUX_SAMPLES, or in ../shared/data/linux70 beside the source tree.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "sim/guest_ram.hpp"

namespace sim::walk {

class LinuxSample : public PhysicalMemory {
 public:
  /// Nothing when the sample is not there.
  static std::optional<LinuxSample> load(const std::string& name) {
    const char* given = std::getenv("HOLDFAST_LINUX_SAMPLES");
    const std::filesystem::path root = given != nullptr
                                           ? std::filesystem::path(given)
                                           : std::filesystem::path(HOLDFAST_SOURCE_DIR) / "../shared/data/linux70";
    const auto folder = root / name;
    if (!std::filesystem::exists(folder / "pages.json")) return std::nullopt;
    LinuxSample sample;
    std::ifstream bytes(folder / "pages.bin", std::ios::binary);
    const std::vector<char> all{std::istreambuf_iterator<char>(bytes), {}};
    const auto pages = nlohmann::json::parse(std::ifstream(folder / "pages.json"));
    for (const auto& page : pages)
      sample.add(page["paddr"].get<u64>(), all.data() + page["offset"].get<u64>(), page["size"].get<u64>());
    sample.truth = nlohmann::json::parse(std::ifstream(folder / "ground_truth.json"));
    return sample;
  }

  [[nodiscard]] const std::byte* find(PhysAddr address, u64 size) const override {
    const auto after = x_pieces.upper_bound(address.value);
    if (after == x_pieces.begin()) return nullptr;
    const auto& [start, words] = *std::prev(after);
    if (!PhysRange{PhysAddr(start), words.size() * 8}.contains(address, size)) return nullptr;
    return reinterpret_cast<const std::byte*>(words.data()) + (address.value - start);
  }

  nlohmann::json truth;

 private:
  // Pages that adjoin are one piece, so that blocks of several pages can be read.
  void add(u64 start, const char* bytes, u64 size) {
    u64 at = start;
    if (auto next = x_pieces.lower_bound(start); next != x_pieces.begin()) {
      auto last = std::prev(next);
      if (last->first + last->second.size() * 8 == start) at = last->first;
    }
    auto& words = x_pieces[at];
    const std::size_t old = words.size();
    words.resize(old + size / 8);
    std::memcpy(words.data() + old, bytes, size);
  }
  std::map<u64, std::vector<u64>> x_pieces;
};

}  // namespace sim::walk
