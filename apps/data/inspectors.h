// One inspector for each kind of file: reads all of it that decides whether it is whole, gives what is in it
// as JSON, and prints that as tables. Errors (data): broken.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace millrace {

struct InspectOptions {
  std::filesystem::path path;
  bool stats = false;  // of each tensor: least, largest, mean, root of the mean square, values not finite
};

nlohmann::ordered_json inspect_tensors(const InspectOptions& options);  // .safetensors, .caffemodel, .pth
void print_tensors(const nlohmann::ordered_json& json);

nlohmann::ordered_json inspect_checkpoint(const InspectOptions& options);  // a checkpoint's folder
void print_checkpoint(const nlohmann::ordered_json& json);

nlohmann::ordered_json inspect_run(const InspectOptions& options);  // a run's folder
void print_run(const nlohmann::ordered_json& json);

nlohmann::ordered_json inspect_plans(const InspectOptions& options);  // plan.txt, or what --plan printed
void print_plans(const nlohmann::ordered_json& json);

nlohmann::ordered_json inspect_list(const InspectOptions& options);
void print_list(const nlohmann::ordered_json& json);

nlohmann::ordered_json inspect_flow_folder(const InspectOptions& options);  // OUT/<video> of motionnet-flow
void print_flow_folder(const nlohmann::ordered_json& json);

nlohmann::ordered_json inspect_media(const InspectOptions& options);  // image, flow, video, folder of frames
void print_media(const nlohmann::ordered_json& json);

// What make_device() can make here: no file.
nlohmann::ordered_json inspect_devices();
void print_devices(const nlohmann::ordered_json& json);

}  // namespace millrace
