// Keeps the VMM's reports of a run whose kernels live in this process.
#pragma once

#include <vector>

#include "vmm/report.hpp"

namespace host {

class ReportCollector final : public vmm::Reporter {
 public:
  explicit ReportCollector(std::vector<vmm::Report>& reports) : x_reports(reports) {}
  void report(const vmm::Report& report) override { x_reports.push_back(report); }

 private:
  std::vector<vmm::Report>& x_reports;
};

}  // namespace host
