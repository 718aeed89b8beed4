# What every target of millrace is compiled with.
function(millrace_settings target)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/millrace>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra>)
  if(MILLRACE_WERROR)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
  if(MILLRACE_SANITIZE)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MILLRACE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer>)
    target_link_options(${target} PUBLIC -fsanitize=${MILLRACE_SANITIZE})
  endif()
endfunction()

# Sets ${have} when package ${name} is wanted (${option} is AUTO or ON) and found; says what its absence costs.
macro(millrace_optional name option have cost)
  set(${have} OFF)
  if(NOT ${option} STREQUAL "OFF")
    if(${option} STREQUAL "ON")
      find_package(${name} REQUIRED)
    else()
      find_package(${name} QUIET)
    endif()
    set(${have} ${${name}_FOUND})
  endif()
  if(NOT ${have})
    message(STATUS "${name} is left out: ${cost}")
  endif()
endmacro()

macro(millrace_optional_pkg name option have cost)
  set(${have} OFF)
  if(NOT ${option} STREQUAL "OFF")
    if(${option} STREQUAL "ON")
      pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${ARGN})
    else()
      pkg_check_modules(${name} QUIET IMPORTED_TARGET ${ARGN})
    endif()
    set(${have} ${${name}_FOUND})
  endif()
  if(NOT ${have})
    message(STATUS "${name} is left out: ${cost}")
  endif()
endmacro()

# Writes one file that calls register_<op>(registry) for each op header, and one that calls <backend>::register_<op>
# for the CPU. The same list serves the CUDA backends (cuda/CMakeLists.txt).
function(millrace_generate_registration headers dir)
  set(includes "")
  set(declarations "")
  set(calls "")
  foreach(header IN LISTS headers)
    cmake_path(GET header STEM op)
    cmake_path(RELATIVE_PATH header BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE relative)
    string(APPEND includes "#include \"${relative}\"\n")
    string(APPEND declarations "void register_${op}(Registry&);\n")
    string(APPEND calls "  register_${op}(registry);\n")
  endforeach()
  file(CONFIGURE OUTPUT ${dir}/register_ops.cpp @ONLY CONTENT
"// Made by CMake from the headers in layers/, losses/ and optim/.
#include \"core/registry.h\"
${includes}
namespace millrace {
void register_ops([[maybe_unused]] Registry& registry) {
${calls}}
}  // namespace millrace
")
  file(CONFIGURE OUTPUT ${dir}/register_cpu.cpp @ONLY CONTENT
"// Made by CMake from the headers in layers/, losses/ and optim/.
#include \"core/registry.h\"

namespace millrace::cpu {
${declarations}
void register_kernels([[maybe_unused]] Registry& registry) {
${calls}}
}  // namespace millrace::cpu
")
endfunction()
