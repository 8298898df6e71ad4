"""tools/check_core.py: what a freestanding library may hold and need."""

import subprocess
import unittest

from support import TreeTest, run_tool


class Core(TreeTest):
    def compile(self, name, source):
        path = self.write(f"{name}.cpp", source)
        target = self.root / f"{name}.o"
        subprocess.run(["g++", "-O2", "-ffreestanding", "-fno-exceptions", "-fno-stack-protector", "-c", path, "-o", target],
                       check=True)
        return target

    def check(self, source, *listed):
        archive = self.root / "libcore.a"
        archive.unlink(missing_ok=True)
        objects = [self.compile("core", source), self.compile("fdt", 'extern "C" int fdt_part() { return 1; }')]
        fdt = self.root / "libfdt.a"
        for target, member in ((archive, objects[0]), (fdt, objects[1])):
            subprocess.run(["ar", "rcs", target, member], check=True)
        symbols = self.write("symbols.txt", "# list\n" + "".join(f"{name}\n" for name in listed))
        return run_tool("check_core.py", "--symbols", symbols, "--fdt", fdt, archive)

    def test_accepts_what_is_listed(self):
        source = 'extern "C" void abort(); extern "C" int fdt_part(); void f() { if (fdt_part()) abort(); }'
        result = self.check(source, "abort")
        self.assertEqual((result.returncode, result.stdout), (0, ""))

    def test_refuses_a_symbol_that_is_not_listed_and_says_who_needs_it(self):
        result = self.check("int* f() { return new int; }")
        self.assertEqual(result.returncode, 1)
        self.assertIn("needs _Znwm (operator new(unsigned long))", result.stdout)
        self.assertIn("libcore.a[core.o]", result.stdout)

    def test_refuses_a_listed_symbol_that_is_not_needed(self):
        self.assertIn("lists abort, which the library does not need", self.check("int f() { return 1; }", "abort").stdout)

    def test_refuses_mutable_static_storage(self):
        for source in ("int counter; int f() { return counter++; }", "int counter = 4; int f() { return counter++; }",
                       "int f() { static int calls; return calls++; }", "int g(); int first = g(); int g() { return 1; }"):
            self.assertIn("core.o holds mutable static storage", self.check(source).stdout, source)

    def test_accepts_constants_with_and_without_relocation(self):
        source = ('extern const char* const names[2]; const char* const names[2] = {"a", "b"};'
                  "extern const int numbers[2]; const int numbers[2] = {1, 2};")
        self.assertEqual(self.check(source).stdout, "")

    def test_the_freestanding_program_must_link_and_run(self):
        start = '#define HOLD "a"(231), "D"({})\nextern "C" void _start() {{ asm volatile("syscall" : : HOLD); }}'
        self.check('extern "C" void abort(); void f() { abort(); }', "abort")
        for exit_code, expected in ((0, 0), (5, 1)):
            parts = ["--start", self.compile("start", start.format(exit_code)),
                     "--provider", self.compile("provider", 'extern "C" void abort() { __builtin_trap(); }')]
            result = run_tool("check_core.py", "--symbols", self.root / "symbols.txt", "--fdt", self.root / "libfdt.a",
                              *parts, self.root / "libcore.a")
            self.assertEqual(result.returncode, expected, result.stdout)

    def test_the_provider_supplies_exactly_what_is_listed(self):
        self.check('extern "C" void abort(); void f() { abort(); }', "abort")
        provider = self.compile("provider", 'extern "C" void spare() {}')
        result = run_tool("check_core.py", "--symbols", self.root / "symbols.txt", "--fdt", self.root / "libfdt.a",
                          "--provider", provider, self.root / "libcore.a")
        self.assertIn("does not supply abort", result.stdout)
        self.assertIn("supplies spare, which is not listed", result.stdout)


if __name__ == "__main__":
    unittest.main()
