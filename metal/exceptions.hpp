// Segments and exceptions: every exception is a defect of ours, says where, and ends the machine.
#pragma once

namespace metal {

/// Own GDT, IDT and fault stack instead of those of whoever came before. Interrupts stay off for good: devices are
/// polled.
void install_exceptions();

}  // namespace metal
