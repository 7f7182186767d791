# Third-party libraries as imported targets. Everything is a Debian 12 package but Arrow, whose headers and libraries
# come from the pinned pyarrow wheel (Debian has no libarrow); ARROW_WHEEL points at that package's folder.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

if(NOT ARROW_WHEEL AND SKBUILD)
  # pip builds with a pyarrow of its own.
  find_package(Python REQUIRED COMPONENTS Interpreter)
  execute_process(COMMAND ${Python_EXECUTABLE} -c "import os, pyarrow; print(os.path.dirname(pyarrow.__file__), end='')"
    OUTPUT_VARIABLE ARROW_WHEEL COMMAND_ERROR_IS_FATAL ANY)
endif()
if(NOT ARROW_WHEEL)
  file(GLOB ARROW_WHEEL ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/pyarrow)
endif()
if(NOT EXISTS ${ARROW_WHEEL}/include/arrow/api.h)
  message(FATAL_ERROR "pyarrow's headers are not in '${ARROW_WHEEL}': run tools/setup, or pass -DARROW_WHEEL=<site-packages>/pyarrow")
endif()
file(STRINGS ${ARROW_WHEEL}/include/arrow/util/config.h arrow_version REGEX "define ARROW_VERSION_STRING")
string(REGEX MATCH "[0-9.]+" ARROW_VERSION "${arrow_version}")
string(REGEX MATCH "^[0-9]+" arrow_major "${ARROW_VERSION}")

foreach(name arrow arrow_flight)
  add_library(${name} SHARED IMPORTED)
  set_target_properties(${name} PROPERTIES
    IMPORTED_LOCATION ${ARROW_WHEEL}/lib${name}.so.${arrow_major}00
    INTERFACE_INCLUDE_DIRECTORIES ${ARROW_WHEEL}/include)
endforeach()
set_target_properties(arrow_flight PROPERTIES INTERFACE_LINK_LIBRARIES arrow)
if(NOT FLAME_RPATH)
  set(FLAME_RPATH ${ARROW_WHEEL})
endif()
set(CMAKE_BUILD_RPATH ${ARROW_WHEEL})
set(CMAKE_INSTALL_RPATH ${FLAME_RPATH})

find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CLI11 REQUIRED)
find_package(absl REQUIRED)
# Of the server programs: many small objects beside short-lived buffers leave glibc's heaps full of holes (a million of
# 100 bytes: 306 MB for 250 MB in use, 337 MiB resident; 297 MiB with jemalloc). Static, so that nothing is needed where the program runs. Sanitizers bring their own.
find_library(JEMALLOC_LIBRARY libjemalloc_pic.a)
pkg_check_modules(bson REQUIRED IMPORTED_TARGET libbson-1.0)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(uuid REQUIRED IMPORTED_TARGET uuid)
pkg_check_modules(prometheus REQUIRED IMPORTED_TARGET prometheus-cpp-core)
find_package(Boost REQUIRED)
pkg_check_modules(rocksdb REQUIRED IMPORTED_TARGET rocksdb)
pkg_check_modules(grpc REQUIRED IMPORTED_TARGET grpc++ protobuf)
find_program(PROTOC protoc REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
if(FLAME_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
