"""tools/check_layers.py: who may include whom."""

import unittest

from support import TreeTest, run_tool


class Layers(TreeTest):
    def check(self, name, *includes):
        self.write(name, "".join(f'#include "{target}"\n' for target in includes))
        return run_tool("check_layers.py", self.root)

    def test_a_module_includes_itself_and_what_stands_above(self):
        result = self.check("holdfast/pt/walk.cpp", "holdfast/pt/walk.hpp", "holdfast/base/types.hpp", "span", "libfdt.h")
        self.assertEqual((result.returncode, result.stdout), (0, ""))

    def test_a_module_does_not_include_what_stands_below(self):
        result = self.check("holdfast/memory/heap.cpp", "holdfast/pt/walk.hpp")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout, "holdfast/memory/heap.cpp: memory may not include holdfast/pt/walk.hpp\n")

    def test_an_unknown_module_has_no_place(self):
        self.assertIn("no place in the order", self.check("holdfast/extra/a.hpp", "span").stdout)

    def test_the_library_uses_neither_model_nor_system(self):
        self.write("sim/machine.hpp", "")
        self.assertEqual(self.check("holdfast/pt/walk.cpp", "sim/machine.hpp").returncode, 1)
        self.assertEqual(self.check("holdfast/pt/walk.cpp", "vector").returncode, 1)
        self.assertEqual(self.check("holdfast/pt/walk.cpp", "sys/mman.h").returncode, 1)

    def test_a_test_of_the_library_may_use_model_and_standard_library(self):
        self.write("sim/machine.hpp", "")
        self.assertEqual(self.check("holdfast/pt/walk_test.cpp", "sim/machine.hpp", "vector").returncode, 0)

    def test_a_benchmark_may_use_the_whole_library(self):
        self.assertEqual(self.check("holdfast/pt/walk_bench.cpp", "holdfast/kho/handover.hpp").returncode, 0)
        self.assertEqual(self.check("holdfast/pt/walk_test.cpp", "holdfast/kho/handover.hpp").returncode, 1)

    def test_a_header_is_a_test_s_when_only_tests_include_it(self):
        self.write("holdfast/pt/sample.hpp", '#include <vector>\n#include "holdfast/pt/inner.hpp"\n')
        self.write("holdfast/pt/inner.hpp", "#include <string>\n")
        self.assertEqual(self.check("holdfast/pt/walk_test.cpp", "holdfast/pt/sample.hpp").returncode, 0)
        result = self.check("holdfast/pt/walk.cpp", "holdfast/pt/inner.hpp")
        self.assertEqual(result.stdout, "holdfast/pt/inner.hpp: the library may not include <string>\n")

    def test_the_model_does_not_share_behaviour_with_the_drivers(self):
        self.assertEqual(self.check("sim/walk/walker.cpp", "holdfast/hw/vtd/entries.hpp", "sim/machine.hpp").returncode, 0)
        self.assertEqual(self.check("sim/walk/walker.cpp", "holdfast/vtd/unit.hpp").returncode, 1)

    def test_the_guest_sees_the_user_boundary_only(self):
        self.write("uapi/holdfast/iommufd.h", "")
        self.write("uapi/linux/iommufd.h", "")
        self.assertEqual(self.check("vmm/guest.cpp", "holdfast/iommufd.h", "uapi/linux/iommufd.h").returncode, 0)
        self.assertEqual(self.check("vmm/guest.cpp", "holdfast/iommufd/files.hpp").returncode, 1)

    def test_headers_of_user_space_are_for_the_layers_that_speak_to_it(self):
        self.write("uapi/holdfast/iommufd.h", "")
        self.assertEqual(self.check("holdfast/iommufd/files.cpp", "holdfast/iommufd.h").returncode, 0)
        self.assertEqual(self.check("holdfast/memory/heap.cpp", "holdfast/iommufd.h").returncode, 1)


if __name__ == "__main__":
    unittest.main()
