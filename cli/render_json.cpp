// Schema "holdfast.run/1".
#include <nlohmann/json.hpp>

#include "cli/render.hpp"

namespace cli {
namespace {

using nlohmann::ordered_json;

ordered_json update_json(const host::UpdateReport& update) {
  const host::PhaseTimes& times = update.phases_ns;
  const holdfast::TouchCounts& touched = update.touched_in_blackout;
  return {
      {"phases_ns",
       {{"preserve", times.preserve},
        {"freeze", times.freeze},
        {"cut_off", times.cut_off},
        {"jump", times.jump},
        {"live_boot", times.live_boot},
        {"retrieve", times.retrieve},
        {"replace", times.replace},
        {"finish", times.finish}}},
      {"blackout_ns", update.blackout_ns},
      {"touched_in_blackout",
       {{"tables", touched.tables},
        {"blocks", touched.blocks},
        {"records", touched.records},
        {"files", touched.files},
        {"frames", touched.frames}}},
      {"mapped_bytes", update.mapped_bytes},
      {"transfers",
       {{"before", update.transfers.before}, {"gap", update.transfers.gap}, {"after", update.transfers.after}}},
      {"lost", update.lost},
      {"repeated", update.repeated},
      {"wrong", update.wrong},
      {"faulted", update.faulted},
  };
}

}  // namespace

std::string render_json(const host::RunReport& report) {
  ordered_json json = {{"schema", "holdfast.run/1"},
                       {"world", report.world == host::WorldKind::Processes ? "processes" : "model"},
                       {"mode", report.mode == host::TranslationMode::Scalable ? "scalable" : "legacy"},
                       {"updates", ordered_json::array()},
                       {"clean", report.clean}};
  for (const host::UpdateReport& update : report.updates) json["updates"].push_back(update_json(update));
  return json.dump() + "\n";
}

}  // namespace cli
