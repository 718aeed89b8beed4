# What every target of millrace is compiled with.
function(millrace_settings target)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/millrace>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # g++ 12 sees overlaps in std::string's operator+ that are not there (GCC bug 105651).
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
  endif()
  if(MILLRACE_WERROR)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
  if(MILLRACE_SANITIZE)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MILLRACE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer>)
    target_link_options(${target} PUBLIC -fsanitize=${MILLRACE_SANITIZE})
  endif()
endfunction()

# For code in which no time is spent: compiled for a short build. With the sanitizers, optimised code takes g++ twice as
# long as plain code. ALWAYS: without them too, less optimised (tests); else programs are not optimised under them only.
function(millrace_compile_quickly target)
  if(MILLRACE_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O0>)
  elseif(ARGN STREQUAL "ALWAYS")
    target_compile_options(${target} PRIVATE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-O1>)
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

# Headers of ops: those that define register_<file name>.
function(millrace_find_ops result)
  file(GLOB headers CONFIGURE_DEPENDS core/*.h layers/*.h losses/*.h optim/*.h)
  set(found "")
  foreach(header IN LISTS headers)
    cmake_path(GET header STEM op)
    file(STRINGS ${header} line REGEX "^inline void register_${op}\\(" LIMIT_COUNT 1)
    if(line)
      list(APPEND found ${header})
    endif()
  endforeach()
  set(${result} ${found} PARENT_SCOPE)
endfunction()

# Writes a file that defines ${NAMESPACE}::${FUNCTION}(Registry&), which calls register_<op> for each op of OPS.
function(millrace_registration_file file)
  cmake_parse_arguments(PARSE_ARGV 1 arg "FAMILIES" "NAMESPACE;FUNCTION" "INCLUDES;OPS")
  set(includes "")
  set(declarations "")
  set(calls "")
  foreach(header IN LISTS arg_INCLUDES)
    string(APPEND includes "#include \"${header}\"\n")
  endforeach()
  foreach(op IN LISTS arg_OPS)
    string(APPEND declarations "void register_${op}(Registry&);\n")
    if(arg_FAMILIES)  # the ops that one header registers belong together
      string(APPEND calls "  registry.begin_family(\"${op}\");\n")
    endif()
    string(APPEND calls "  register_${op}(registry);\n")
  endforeach()
  file(CONFIGURE OUTPUT ${file} @ONLY CONTENT
"// Made by CMake from the names of the ops' files.
${includes}
namespace millrace {
class Registry;
}

namespace ${arg_NAMESPACE} {
${declarations}
void ${arg_FUNCTION}([[maybe_unused]] Registry& registry) {
${calls}}
}  // namespace ${arg_NAMESPACE}
")
endfunction()

# Registration of the ops, and of their kernels on the CPU, from the ops' headers.
function(millrace_generate_registration headers dir)
  set(includes "")
  set(ops "")
  foreach(header IN LISTS headers)
    cmake_path(GET header STEM op)
    list(APPEND ops ${op})
    cmake_path(RELATIVE_PATH header BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE relative)
    list(APPEND includes ${relative})
  endforeach()
  millrace_registration_file(${dir}/register_ops.cpp NAMESPACE millrace FUNCTION register_ops FAMILIES
                             INCLUDES core/registry.h ${includes} OPS ${ops})
  millrace_registration_file(${dir}/register_cpu.cpp NAMESPACE millrace::cpu FUNCTION register_kernels OPS ${ops})
endfunction()

# What C++ with the simulation's meaning of CUDA's words is compiled with.
function(millrace_sim_settings target)
  target_compile_definitions(${target} PRIVATE MILLRACE_CUDA_SIM=1)
  target_compile_options(${target} PRIVATE -Wno-unknown-pragmas)
  if(MILLRACE_SANITIZE MATCHES address AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(${target} PRIVATE -fsanitize-sections=sim_shared)
  endif()
endfunction()

# The same for kernels in which races are looked for: g++ calls cuda/sim/race/hooks.cpp at each access to memory. Most of
# the time goes into the calls, so little optimisation will do; -g1 is for lines in messages.
function(millrace_race_settings target)
  millrace_sim_settings(${target})
  target_compile_definitions(${target} PRIVATE MILLRACE_CUDA_RACE=1)
  target_compile_options(${target} PRIVATE -fsanitize=thread --param=tsan-instrument-func-entry-exit=0 -O1 -g1)
endfunction()
