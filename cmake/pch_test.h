// Precompiled for the unit tests: what libraries have, and the test framework.
#pragma once

#include <arrow/testing/gtest_util.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pch.h"
