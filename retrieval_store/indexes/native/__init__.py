"""The compiled functions that look at vectors, and how they are called.

C sources and, where a compiler was there when the package was built, what became of them:
`kernel.so` (`kernel.dll`). One C file for each instruction set (`scalar`, `avx2`, `avx512`,
`neon`), of which the best that the processor has is taken at run time; they share what is the same
for all (`scan_body.h`, `floats_body.h`). `library` finds and calls it, and has the
structures that both sides know. It may use `base` and `errors`.
"""
