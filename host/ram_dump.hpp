// `--dump DIR`: RAM as it was at each jump, and handover.json that says where the handover in it begins.
//
// The old kernel has stopped and the new one waits while RAM is copied; devices go on, so guest memory in the image is
// of no single moment. Holes stay holes: the file is as small as what the machine used.
#pragma once

#include <string>
#include <vector>

#include "holdfast/base/boot_info.hpp"
#include "host/machine_shape.hpp"

namespace host {

class RamDump {
 public:
  /// Creates @p directory if it is not there. @throws RunError (InputMissing).
  RamDump(std::string directory, const MachineShape& shape);

  /// Writes update-<n>.ram and handover.json anew. @throws RunError (InputMissing) when the disk does not take it.
  void add(u32 update, const Handover& handover, int ram_fd);

 private:
  void write_index() const;

  struct Jump {
    u32 update = 0;
    std::string file;
    Handover handover;
  };

  std::string x_directory;
  MachineShape x_shape;
  std::vector<Jump> x_jumps;
};

}  // namespace host
