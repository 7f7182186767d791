# flame_library(NAME SOURCES... PUBLIC deps... PRIVATE deps...): one folder, one static library, `flame::NAME`.
# PUBLIC dependencies appear in the folder's headers, PRIVATE ones only in its .cc files. Each *_test.cc beside the
# sources becomes part of NAME_test, which runs in TEST_SHARDS parts. Arrow's headers, which nearly every file includes, are precompiled once.
add_library(flame_pch OBJECT ${CMAKE_SOURCE_DIR}/cmake/pch.cc)
target_link_libraries(flame_pch PRIVATE flame_flags arrow)
target_precompile_headers(flame_pch PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch.h)

# After flame_flags: tests' own code is neither optimised nor checked for undefined behaviour, which halves the time to
# compile it. What they test is.
add_library(flame_test_flags INTERFACE)
target_compile_options(flame_test_flags INTERFACE -O0 -g1)
if(FLAME_SANITIZE MATCHES "undefined")
  target_compile_options(flame_test_flags INTERFACE -fno-sanitize=undefined)
endif()
if(FLAME_BUILD_TESTS)
  add_library(flame_test_pch OBJECT ${CMAKE_SOURCE_DIR}/cmake/pch.cc)
  target_link_libraries(flame_test_pch PRIVATE flame_flags flame_test_flags arrow GTest::gmock)
  target_precompile_headers(flame_test_pch PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch_test.h)
endif()

function(flame_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE;TESTS;TEST_LINK;TEST_SHARDS" ${ARGN})
  add_library(flame_${name} STATIC ${arg_SOURCES})
  add_library(flame::${name} ALIAS flame_${name})
  target_include_directories(flame_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(flame_${name} PUBLIC arrow Threads::Threads ${arg_PUBLIC} PRIVATE flame_flags ${arg_PRIVATE})
  target_precompile_headers(flame_${name} REUSE_FROM flame_pch)
  if(FLAME_BUILD_TESTS AND arg_TESTS)
    add_executable(${name}_test ${arg_TESTS})
    target_link_libraries(${name}_test PRIVATE flame_${name} flame_flags flame_test_flags ${arg_TEST_LINK} GTest::gmock GTest::gtest_main)
    target_precompile_headers(${name}_test REUSE_FROM flame_test_pch)
    if(NOT arg_TEST_SHARDS)
      add_test(NAME ${name} COMMAND ${name}_test)
    else()
      # Long ones in parts, so that all cores have something to do.
      math(EXPR last "${arg_TEST_SHARDS} - 1")
      foreach(shard RANGE ${last})
        add_test(NAME ${name}_${shard} COMMAND ${name}_test)
        set_tests_properties(${name}_${shard} PROPERTIES
          ENVIRONMENT "GTEST_TOTAL_SHARDS=${arg_TEST_SHARDS};GTEST_SHARD_INDEX=${shard}")
      endforeach()
    endif()
  endif()
endfunction()

function(flame_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;PRIVATE" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE flame_flags ${arg_PRIVATE})
  target_precompile_headers(${name} REUSE_FROM flame_pch)
  install(TARGETS ${name} RUNTIME DESTINATION bin COMPONENT server)
endfunction()
