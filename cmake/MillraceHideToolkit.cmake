# A build that must not see the CUDA toolkit, wherever the machine has it (Debian puts its headers in /usr/include):
# headers of the same names, which come first and do not compile, hide its own. So nothing but nvcc's build can have
# come to need them.
set(MILLRACE_CUDA OFF)
set(hiding ${PROJECT_BINARY_DIR}/generated/no_toolkit)
foreach(header cuda.h cuda_runtime.h cuda_runtime_api.h cuda_bf16.h cuda_fp16.h cuda_pipeline.h cooperative_groups.h
               vector_types.h vector_functions.h device_launch_parameters.h device_types.h driver_types.h
               math_constants.h curand.h curand_kernel.h cub/cub.cuh cuda/std/atomic cuda/atomic thrust/sort.h mma.h
               cublas_v2.h cublasLt.h cudnn.h cudnn_backend.h nvml.h nvrtc.h nvtx3/nvtx3.hpp nvtx3/nvToolsExt.h)
  file(CONFIGURE OUTPUT ${hiding}/${header} @ONLY CONTENT
       "#error \"<${header}> is NVIDIA's, and this build hides the CUDA toolkit (MILLRACE_HIDE_TOOLKIT)\"\n")
endforeach()
include_directories(BEFORE ${hiding})

file(CONFIGURE OUTPUT ${hiding}/check.cpp @ONLY CONTENT "#include <cuda_runtime.h>\nint main() {}\n")
try_compile(MILLRACE_SEES_TOOLKIT ${CMAKE_BINARY_DIR} ${hiding}/check.cpp
            CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${hiding} OUTPUT_VARIABLE why)
if(MILLRACE_SEES_TOOLKIT OR NOT why MATCHES "hides the CUDA toolkit")
  message(FATAL_ERROR "the CUDA toolkit's headers are not hidden from ${CMAKE_CXX_COMPILER}:\n${why}")
endif()
message(STATUS "the CUDA toolkit is hidden: nvcc is not looked for, and its headers do not compile")
