// The two entries of the image, and what exceptions come to.
//
// PVH (the machine's loader; Xen's x86 PVH boot ABI): 32-bit, paging off, %ebx -> hvm_start_info, no stack, and only at
// the address the image is linked at. Live (a kernel of ours): 64-bit, every byte of RAM below 4 GiB and this image
// identity-mapped, at any page. Both end in metal_main(entry, start_info) on a stack of ours, relocated; memory that is
// not initialised is zero already.
#define LOADED_AT 0x100000           // image.ld asserts that it links to there
#define STACK_BYTES 65536
#define FAULT_STACK_BYTES 8192

  .section .note.pvh, "a", @note
  .balign 4
  .long 4, 4, 18                  // name, descriptor, XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .long LOADED_AT + (metal_enter_pvh - metal_head)

  .section .head, "ax", @progbits
  .code32
  .globl metal_loaded_at
  .hidden metal_loaded_at
  .set metal_loaded_at, LOADED_AT
  .globl metal_head
  .hidden metal_head
metal_head:
metal_enter_pvh:
  cli
  cld
  movl %ebx, %esi                 // hvm_start_info, kept
  movl $LOADED_AT, %ebp
#define HERE(symbol, register) movl $(symbol - metal_head), register; addl %ebp, register
  HERE(metal_stack_end, %esp)

  // First page tables: 4 GiB, identity, 2 MiB pages. metal_main makes better ones.
  HERE(first_pml4, %edi)
  leal 4096 + 3(%edi), %eax
  movl %eax, (%edi)
  leal 8192 + 3(%edi), %eax
  movl $4, %ecx
  leal 4096(%edi), %ebx
1: movl %eax, (%ebx)
  addl $4096, %eax
  addl $8, %ebx
  loop 1b
  leal 8192(%edi), %ebx
  movl $0x83, %eax                // present, writable, 2 MiB
  movl $2048, %ecx
2: movl %eax, (%ebx)
  addl $0x200000, %eax
  addl $8, %ebx
  loop 2b
  movl %edi, %cr3
  movl %cr4, %eax
  orl $0x620, %eax                // PAE, OSFXSR, OSXMMEXCPT
  movl %eax, %cr4
  movl $0xc0000080, %ecx          // EFER
  rdmsr
  orl $0x100, %eax                // LME
  wrmsr
  movl %cr0, %eax
  andl $~0x4, %eax                // EM
  orl $0x80010003, %eax           // PG, WP, MP, PE
  movl %eax, %cr0

  HERE(first_gdt, %eax)
  HERE(first_gdtr, %ebx)
  movl %eax, 2(%ebx)
  lgdt (%ebx)
  pushl $8
  HERE(enter_pvh_64, %eax)
  pushl %eax
  lretl

  .code64
enter_pvh_64:
  movl $16, %eax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  xorl %eax, %eax
  movw %ax, %fs
  movw %ax, %gs
  movl %esi, %esi
  xorl %edi, %edi                 // Entry::Pvh
  jmp enter_common

  .globl metal_enter_live
  .hidden metal_enter_live
metal_enter_live:
  cli
  cld
  xorl %esi, %esi
  movl $1, %edi                   // Entry::Live

enter_common:
  leaq metal_stack_end(%rip), %rsp
  leaq metal_head(%rip), %rdx     // linked at 0
  leaq metal_relocations_start(%rip), %rax
  leaq metal_relocations_end(%rip), %rcx
3: cmpq %rcx, %rax
  jae 4f
  cmpl $8, 8(%rax)                // R_X86_64_RELATIVE is all that a program without libraries has
  jne 5f
  movq (%rax), %rbx
  movq 16(%rax), %r8
  addq %rdx, %r8
  movq %r8, (%rbx,%rdx)
  addq $24, %rax
  jmp 3b
4: xorl %ebp, %ebp
  call metal_main
  ud2

// Not by an exception: the table of exceptions is still that of the kernel before, which would name its own image.
5: leaq bad_relocation(%rip), %rsi
  movw $0x3f8, %dx                // serial port
6: lodsb
  testb %al, %al
  jz 7f
  outb %al, %dx
  jmp 6b
7: movw $0xf4, %dx                // isa-debug-exit
  movl $2, %eax                   // ExitCode::BootFailed
  outl %eax, %dx
8: hlt
  jmp 8b
bad_relocation:
  .asciz "entry: the image has a relocation that it cannot do itself\n"

// Exceptions: vector and error code on the stack, then one path, which never returns.
  .text
  .balign 16
  .globl metal_exceptions
  .hidden metal_exceptions
metal_exceptions:
  .set vector, 0
  .rept 32
  .balign 16
  .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
  pushq $0                        // those push no error code themselves
  .endif
  pushq $vector
  jmp exception_common
  .set vector, vector + 1
  .endr

exception_common:
  movq %rsp, %rdi                 // {vector, code, rip, cs, rflags, rsp, ss}
  andq $-16, %rsp
  call metal_exception
  ud2

// metal_load_segments(const void* gdtr, const void* idtr, u16 task): a GDT with code at 8, data at 16.
  .globl metal_load_segments
  .hidden metal_load_segments
metal_load_segments:
  lgdt (%rdi)
  lidt (%rsi)
  ltr %dx
  movl $16, %eax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  popq %rax
  pushq $8
  pushq %rax
  lretq

  .section .data
  .balign 8
first_gdt:
  .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
first_gdtr:
  .word 23
  .long 0, 0

  .section .bss, "aw", @nobits
  .balign 4096
first_pml4:
  .skip 6 * 4096
  .globl metal_stack_guard
  .hidden metal_stack_guard
metal_stack_guard:                // the page map leaves it out: a stack that overflows faults
  .skip 4096
  .skip STACK_BYTES
  .globl metal_stack_end
  .hidden metal_stack_end
metal_stack_end:
  .skip FAULT_STACK_BYTES
  .globl metal_fault_stack_end
  .hidden metal_fault_stack_end
metal_fault_stack_end:

  .section .note.GNU-stack, "", @progbits
