"""The kernels of the GPU path: plain functions that :mod:`numbaconv.cuda.launch` compiles; memory and integers in."""
