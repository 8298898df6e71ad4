// Test support (hosted; never part of the library): memory that a real Linux left for its successor, as the RAM of a
// TestWorld, with what Linux itself said about it.
//
// Found through the environment variable HOLDFAST_LINUX_SAMPLES, else beside the checkout (../shared/data/linux70).
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "holdfast/memory/test_world.hpp"

namespace holdfast::kho {

class LinuxSample {
 public:
  static inline const std::vector<std::string> all{"a-one-session-one-memfd", "c-no-sessions"};

  static std::filesystem::path folder() {
    if (const char* given = std::getenv("HOLDFAST_LINUX_SAMPLES"); given != nullptr) return given;
    return std::filesystem::path(__FILE__).parent_path() / "../../../shared/data/linux70";
  }
  static bool is_present(const std::string& name) {
    return std::filesystem::exists(folder() / "kho" / name / "pages.bin");
  }

  explicit LinuxSample(const std::string& name)
      : truth(read_json(folder() / "kho" / name / "ground_truth.json")),
        reported(truth["reported_by_linux"]),
        decoded(truth["decoded_by_capture_script"]),
        world(truth["ram_bytes"].get<u64>()) {
    const auto pages = read_bytes(folder() / "kho" / name / "pages.bin");
    for (const auto& entry : read_json(folder() / "kho" / name / "pages.json"))
      std::memcpy(world.direct_map() + entry["paddr"].get<u64>(), pages.data() + entry["offset"].get<u64>(),
                  entry["size"].get<u64>());
    const auto& arguments = reported["kho_populate_arguments"];
    handover = {.fdt = arguments["fdt_phys"].get<u64>(),
                .fdt_size_bytes = arguments["fdt_len"].get<u64>(),
                .scratch = arguments["scratch_phys"].get<u64>(),
                .scratch_size_bytes = arguments["scratch_len"].get<u64>()};
  }

  nlohmann::json truth;
  nlohmann::json reported;
  nlohmann::json decoded;
  TestWorld world;
  Handover handover;

 private:
  static std::vector<char> read_bytes(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static nlohmann::json read_json(const std::filesystem::path& path) {
    std::ifstream file(path);
    return nlohmann::json::parse(file);
  }
};

}  // namespace holdfast::kho
