"""The GPU path's algorithms: ``unsupported(job, device)`` says why not, ``run(job, device)`` launches the kernels."""
